SELECT 'a''; -- $$ /* 
BEGIN; $a$ $b$ $a$; DELIMITER //
END//
