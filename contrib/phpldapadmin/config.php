<?php
/* A configuration of phpLDAPadmin (Debian: /etc/phpldapadmin/config.php) for the objects of Postern. Put in place of the words between @ signs: @HOST@ and
 * @PORT@ of the directory, @SUFFIX@ its suffix, @ADMIN@ the DN that the login form suggests. The templates belong into /etc/phpldapadmin/templates. */
$config->custom->appearance['hide_template_regexp'] = true;
/* Only the forms of Postern are offered; without these two lines all others are, too. */
$config->custom->appearance['custom_templates_only'] = true;
$config->custom->appearance['show_hints'] = true;

$servers = new Datastore();
$servers->newServer('ldap_pla');
$servers->setValue('server','name','Directory');
$servers->setValue('server','host','@HOST@');
$servers->setValue('server','port',@PORT@);
$servers->setValue('server','base',array('@SUFFIX@'));
$servers->setValue('login','auth_type','session');
$servers->setValue('login','bind_id','@ADMIN@');
$servers->setValue('login','anon_bind',false);
$servers->setValue('custom','pages_prefix','postern');
/* Two users with one address or one name are an error of the configuration for Postern. */
$servers->setValue('unique','attrs',array('mail','uid'));
